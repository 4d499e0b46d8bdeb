import Quantization

/// `viva plan`: the same plan as `GET /v1/plan`, as a table.
package enum PlanText {
    /// The table for a size like `13B` and perhaps one card.
    package static func text(parameters: String, gpu: String?) throws(ServiceError) -> String {
        guard let model = ModelShape.parse(parameters) else {
            throw .failed("'\(parameters)' is not a size like 7B, 350M, LLaMA-13B or 6738415616")
        }
        let gpus = GPU.all.filter { card in gpu.map { $0.lowercased() == card.name } ?? true }
        guard !gpus.isEmpty else {
            throw .failed("'\(gpu ?? "")' is not a known card; known: \(GPU.all.map(\.name).joined(separator: ", "))")
        }
        var rows = [["method", "GB", "bits/weight", "vs FP32", "fits"]]
        for size in model.sizes {
            let fits = gpus.filter { $0.fits(size.bytes) }.map(\.name)
            rows.append([
                size.label, ReportText.fixed(Double(size.bytes) / 1e9, 2), ReportText.fixed(size.bitsPerWeight, 3),
                ReportText.fixed(32 / size.bitsPerWeight, 2) + "x",
                fits.isEmpty ? "none" : fits.joined(separator: " "),
            ])
        }
        let title = "\(model.name ?? "model") with \(model.parameters) parameters"
        return ([title] + ReportText.aligned(rows)).joined(separator: "\n")
    }
}
