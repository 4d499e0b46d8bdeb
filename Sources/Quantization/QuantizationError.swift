package import Tensors

/// Why an input cannot become an artifact, with the evidence.
package enum QuantizationError: Error, Sendable, Equatable {
    /// A recipe names no known method, format, option or value.
    case recipe(code: String, detail: String)
    /// The container (safetensors, npy, npz, raw) is malformed.
    case container(TensorFormatError)
    /// The input ended after `received` of `expected` bytes.
    case truncated(expected: Int, received: Int)
    /// The input goes on after its last tensor.
    case trailingBytes(expected: Int)
    /// A weight is NaN or infinite; `index` counts elements in row-major order.
    case nonFinite(tensor: String, index: Int)
    /// A weight's magnitude exceeds what the format's arithmetic holds (65504 for float16).
    case outOfRange(tensor: String, index: Int, value: Float, limit: Float)
    /// A named limit is exceeded.
    case limit(name: String, value: Int, limit: Int, tensor: String?)
    /// Other sessions hold the memory that this one needs; later it may be free.
    case busy(wantedBytes: Int)
    /// No tensor of the input can be quantized by the recipe.
    case nothingToQuantize(detail: String)
    /// Even the smallest artifact exceeds the budget of the request.
    case budget(name: String, value: Double, smallest: Double)
    /// A tensor lost more than a gate of the request allows.
    case gate(name: String, value: Double, bound: Double, tensor: String)
    /// The method needs calibration data that the input does not hold, or that does not fit.
    case calibration(code: String, detail: String)
    /// The scales that belong to an FP8 weight cannot be used.
    case scales(code: String, tensor: String, detail: String)
    /// An artifact that is to be restored is of no known format, or contradicts itself.
    case artifact(code: String, detail: String, tensor: String?)
    /// The recorded state of a session cannot be taken up again.
    case snapshot(SnapshotFlaw)
    /// Who watches the session wanted it to end.
    case interrupted
    /// Storage under the session failed.
    case storage(StorageFailure)
}
