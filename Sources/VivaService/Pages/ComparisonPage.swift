import FoundationEssentials

/// A comparison of recipes as the page reads it: the same JSON that clients read.
struct ComparisonDocument: Decodable, Sendable {
    let input: Input
    let sample: Sample
    /// Fewest bits a weight first.
    let points: [Point]
    let refused: [Refusal]

    struct Input: Decodable, Sendable {
        let bytes: Int
        let tensors: Int
    }

    struct Sample: Decodable, Sendable {
        let whole: Bool
        let weights: Int
    }

    struct Point: Decodable, Sendable {
        let recipe: RecipeCard
        /// The query that makes the artifact.
        let query: String
        let bytes: Int
        let bitsPerWeight: Double
        let figures: ReportDocument.Figures
        /// Whether no other recipe is as small and as close.
        let isOnFront: Bool

        private enum CodingKeys: String, CodingKey {
            case query, bytes
            case bitsPerWeight = "bits_per_weight"
            case isOnFront = "pareto"
        }

        init(from decoder: any Decoder) throws {
            let members = try decoder.container(keyedBy: CodingKeys.self)
            recipe = try RecipeCard(from: decoder)
            query = try members.decode(String.self, forKey: .query)
            bytes = try members.decode(Int.self, forKey: .bytes)
            bitsPerWeight = try members.decode(Double.self, forKey: .bitsPerWeight)
            figures = try ReportDocument.Figures(from: decoder)
            isOnFront = try members.decode(Bool.self, forKey: .isOnFront)
        }
    }

    struct Refusal: Decodable, Sendable {
        let recipe: RecipeCard
        let detail: String

        private enum CodingKeys: String, CodingKey {
            case problem
        }

        private struct Reason: Decodable {
            let detail: String
        }

        init(from decoder: any Decoder) throws {
            recipe = try RecipeCard(from: decoder)
            detail = try decoder.container(keyedBy: CodingKeys.self).decode(Reason.self, forKey: .problem).detail
        }
    }

    /// Reads the JSON of an answer.
    init(_ json: [UInt8]) throws {
        self = try JSONDecoder().decode(Self.self, from: Data(json))
    }
}

/// Recipes side by side on the same weights, as a page.
struct ComparisonPage {
    let comparison: ComparisonDocument

    var page: Page {
        Page(
            title: "Comparison of \(comparison.points.count) recipes",
            body: """
                <header>
                <p class="brand"><a href="/">viva-tensor</a></p>
                <h1>\(comparison.points.count) recipes compared</h1>
                <p class="sub">\(Quantity.bytes(comparison.input.bytes)) in \
                \(Quantity.count(comparison.input.tensors)) tensors; \(measured)</p>
                </header>
                <main>
                <figure class="lone">\(chart)</figure>
                \(table)
                \(refusals)
                </main>
                """)
    }

    private var measured: String {
        let weights = "\(Quantity.count(comparison.sample.weights)) weights"
        return comparison.sample.whole
            ? "all \(weights) measured" : "measured on \(weights), evenly spread; sizes are the whole file’s"
    }

    /// The recipes that no other beats bear their labels.
    private var chart: HTML {
        var first: [String: RecipeCard] = [:]
        let points = comparison.points.compactMap { point -> ParetoChart.Point? in
            let label = first[point.recipe.label].map { point.recipe.label(beside: $0) } ?? point.recipe.label
            first[point.recipe.label] = first[point.recipe.label] ?? point.recipe
            return point.figures.sqnr.map {
                ParetoChart.Point(
                    label: label, bitsPerWeight: point.bitsPerWeight, sqnr: $0, isSubject: point.isOnFront)
            }
        }
        guard !points.isEmpty else { return "<p>Nothing is lost: there is no error to compare.</p>" }
        return ParetoChart(points: points, uniformLimit: nil).svg
    }

    private var table: HTML {
        let rows: [HTML] = comparison.points.map { point in
            let label: HTML = point.isOnFront ? "<b>\(point.recipe.label)</b>" : "\(point.recipe.label)"
            return """
                <tr><th scope="row">\(label) <small>\(point.recipe.optionText)</small></th>\
                <td class="n">\(ReportText.fixed(point.bitsPerWeight, 3))</td>\
                <td class="n">\(point.figures.sqnrText)</td>\
                <td class="n">\(Quantity.bytes(point.bytes))</td>\
                <td class="n wide">\(Quantity.figure(point.figures.rmse))</td>\
                <td class="wide"><code>\(point.query)</code></td></tr>

                """
        }
        return """
            <section><h2>Recipes</h2>
            <table><caption>Bold: no other is as small and as close.</caption>
            <thead><tr><th>recipe</th><th class="n">bits a weight</th><th class="n">SQNR, dB</th>\
            <th class="n">size</th>\
            <th class="n wide">RMSE</th><th class="wide">to make it, POST to /v1/quantize?</th></tr></thead>
            <tbody>
            \(rows)</tbody></table></section>
            """
    }

    private var refusals: HTML {
        guard !comparison.refused.isEmpty else { return .empty }
        let items: [HTML] = comparison.refused.map {
            "<li><b>\($0.recipe.label)</b> \($0.recipe.optionText): \(HTML.shortened($0.detail, limit: 400))</li>\n"
        }
        return """
            <section><h2>Not possible here</h2><ul>
            \(items)</ul></section>
            """
    }
}
