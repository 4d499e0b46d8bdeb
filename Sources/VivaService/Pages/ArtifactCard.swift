import FoundationEssentials

/// An artifact's own description as the page reads it.
struct ArtifactCard: Decodable, Sendable {
    let id: String
    let name: String?
    let recipe: RecipeCard
    let input: Input
    let bytes: Int
    let digest: String
    let bitsPerWeight: Double
    let summary: ReportDocument.Figures
    let createdAt: String
    let engineVersion: String

    struct Input: Decodable, Sendable {
        let digest: String
        let bytes: Int
    }

    private enum CodingKeys: String, CodingKey {
        case id, name, input, bytes, digest, summary
        case bitsPerWeight = "bits_per_weight"
        case createdAt = "created_at"
        case engineVersion = "engine_version"
    }

    init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        id = try members.decode(String.self, forKey: .id)
        name = try members.decodeIfPresent(String.self, forKey: .name)
        recipe = try RecipeCard(from: decoder)
        input = try members.decode(Input.self, forKey: .input)
        bytes = try members.decode(Int.self, forKey: .bytes)
        digest = try members.decode(String.self, forKey: .digest)
        bitsPerWeight = try members.decode(Double.self, forKey: .bitsPerWeight)
        summary = try members.decode(ReportDocument.Figures.self, forKey: .summary)
        createdAt = try members.decode(String.self, forKey: .createdAt)
        engineVersion = try members.decode(String.self, forKey: .engineVersion)
    }

    /// Reads a manifest.
    init(manifest: String) throws {
        self = try JSONDecoder().decode(Self.self, from: Data(manifest.utf8))
    }
}

extension ArtifactCard {
    /// Where it stands in the Pareto chart of a subject; nil when its reconstruction is exact.
    func point(beside subject: ArtifactCard) -> ParetoChart.Point? {
        let isSubject = id == subject.id
        return summary.sqnr.map { sqnr in
            ParetoChart.Point(
                label: isSubject ? recipe.label : recipe.label(beside: subject.recipe), bitsPerWeight: bitsPerWeight,
                sqnr: sqnr, isSubject: isSubject)
        }
    }

    /// The moment of its making to the minute: `2026-11-23 02:26 UTC`.
    var madeAt: String { "\(createdAt.prefix(16).replacing("T", with: " ")) UTC" }
}
