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

    /// qweight, qzeros and scales of a layer, whose tiles lie in scratch storage from `scratch` on.
    static func parts(
        of placement: AWQPlacement, rows: Int, columns: Int, groups: Int, scratch: Int
    ) -> [TransposedPlane] {
        let parts = [
            (rows: columns, bytes: 4, at: placement.qweight), (rows: groups, bytes: 4, at: placement.qzeros),
            (rows: groups, bytes: 16, at: placement.scales),
        ]
        var planes: [TransposedPlane] = []
        var next = scratch
        for part in parts {
            let plane = TransposedPlane(
                rows: part.rows, octetBytes: part.bytes, octets: rows / 8, scratch: next, destination: part.at)
            next += plane.byteCount
            planes.append(plane)
        }
        return planes
    }

    /// Reads back the tile of the given octets, as `stage` wrote it.
    func unstage<Word: BitwiseCopyable & ExpressibleByIntegerLiteral>(
        _ tile: inout [Word], octets range: Range<Int>, from storage: any ScratchStorage
    ) throws(QuantizationError) {
        try storage.unstage(into: &tile, count: tile.count, at: scratch + range.lowerBound * rows * octetBytes)
    }

    /// Writes the whole plane, from tiles of `tileOctets` octets each (the last may be narrower).
    func gather(
        tileOctets: Int, from storage: any ScratchStorage, to output: any ArtifactOutput
    ) throws(QuantizationError) {
        let rowBytes = octets * octetBytes
        let step = max(1, AWQTiles.gatheredBytes / max(1, rowBytes))
        // Eight channels are whole words in every part. Both buffers are kept: fresh memory takes longer than this.
        var band = [UInt32](repeating: 0, count: min(step, rows) * rowBytes / 4)
        var piece = [UInt32](repeating: 0, count: min(step, rows) * min(tileOctets, octets) * octetBytes / 4)
        for first in stride(from: 0, to: rows, by: step) {
            let count = min(step, rows - first)
            for tile in stride(from: 0, to: octets, by: tileOctets) {
                let width = min(tileOctets, octets - tile) * octetBytes
                let at = scratch + tile * rows * octetBytes + first * width
                try storage.unstage(into: &piece, count: count * width / 4, at: at)
                AWQTileWords.place(
                    piece, rows: count, width: width / 4, in: &band, at: tile * octetBytes / 4, rowBytes / 4)
            }
            let span = band.span.extracting(first: count * rowBytes / 4)
            let bytes = unsafe span.bytes
            do { try output.write(bytes, at: destination + first * rowBytes) } catch { throw .storage(error) }
        }
    }
}
