/// A matrix that is made a few columns at a time but belongs row by row in the artifact.
///
/// Tiles of columns go to scratch storage one after the other, each as rows; at the end bands of whole rows are
/// gathered from all tiles and written in one piece.
struct TransposedPlane {
    /// Rows of the plane in the artifact.
    let rows: Int
    /// Bytes that eight output channels take in one row.
    let octetBytes: Int
    /// How many times eight output channels there are.
    let octets: Int
    /// Where the tiles start in scratch storage.
    let scratch: Int
    /// Where the plane starts in the artifact.
    let destination: Int

    /// Bytes of the plane, in scratch storage as in the artifact.
    var byteCount: Int { rows * octets * octetBytes }

    /// Stages the tile of the given octets, row by row.
    func stage<Word: BitwiseCopyable>(
        _ tile: [Word], octets range: Range<Int>, in storage: any ScratchStorage
    ) throws(QuantizationError) {
        let span = tile.span
        let bytes = unsafe span.bytes
        do { try storage.write(bytes, at: scratch + range.lowerBound * rows * octetBytes) } catch {
            throw .storage(error)
        }
    }

    /// Writes the whole plane, from tiles of `tileOctets` octets each (the last may be narrower).
    func gather(
        tileOctets: Int, from storage: any ScratchStorage, to output: any ArtifactOutput
    ) throws(QuantizationError) {
        let rowBytes = octets * octetBytes
        let step = max(1, AWQTiles.gatheredBytes / max(1, rowBytes))
        var piece: [UInt8] = []
        for first in stride(from: 0, to: rows, by: step) {
            let count = min(step, rows - first)
            var band = [UInt8](repeating: 0, count: count * rowBytes)
            for tile in stride(from: 0, to: octets, by: tileOctets) {
                let width = min(tileOctets, octets - tile) * octetBytes
                let at = scratch + tile * rows * octetBytes + first * width
                try Self.read(&piece, count: count * width, at: at, from: storage)
                for row in 0..<count {
                    let target = row * rowBytes + tile * octetBytes
                    for byte in 0..<width { band[target + byte] = piece[row * width + byte] }
                }
            }
            let span = band.span
            let bytes = unsafe span.bytes
            do { try output.write(bytes, at: destination + first * rowBytes) } catch { throw .storage(error) }
        }
    }

    private static func read(
        _ piece: inout [UInt8], count: Int, at offset: Int, from storage: any ScratchStorage
    ) throws(QuantizationError) {
        if piece.count != count { piece = Array(repeating: 0, count: count) }
        var span = piece.mutableSpan
        var bytes = unsafe span.mutableBytes
        do { try storage.read(into: &bytes, at: offset) } catch { throw .storage(error) }
    }
}
