import Tensors
struct AWQPlacement: Sendable, Equatable { var qweight: Int; var qzeros: Int; var scales: Int; var inputScales: Int? }
struct StagedTensor: Sendable { let type: ElementType; let rows: Int; let columns: Int; let offset: Int }
struct AWQOptions: Sendable { init(_ recipe: Recipe) {} }
struct AWQResult: Sendable { var quality: TensorQuality; var chosenRatio: Double?; var outputErrorRelative: Double? }
struct AWQLayer {
  let name: String; let weight: StagedTensor; let activations: StagedTensor?; let options: AWQOptions; let placement: AWQPlacement; let scratchBase: Int
  func run(scratch: any ScratchStorage, output: any ArtifactOutput) throws(QuantizationError) -> AWQResult { throw .nothingToQuantize(detail: "") }
  static func shapeProblem(rows: Int, columns: Int, groupSize: Int) -> String? { nil }
  static func scratchBytes(rows: Int, columns: Int) -> Int { 0 }
}
