/// The loops from codes to values in plain Swift, which the compiler turns into vectors.
///
/// Pointers are into arrays that the call holds; bounds are checked once.
enum CodeLoops {
    /// Spreads `count` codes of 4 or 8 bits from byte `position` on to a byte each; the first of two is the low nibble.
    static func unpack(
        _ packed: [UInt8], at position: Int, bits: Int, count: Int, into codes: inout [UInt8], at target: Int
    ) {
        precondition(packed.count >= position + (count * bits + 7) / 8 && codes.count >= target + count)
        unsafe packed.withUnsafeBufferPointer { packed in
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                guard bits == 4 else {
                    for index in 0..<count { unsafe codes[target + index] = packed[position + index] }
                    return
                }
                for pair in 0..<count / 2 {
                    let byte = unsafe packed[position + pair]
                    unsafe codes[target + 2 * pair] = byte & 15
                    unsafe codes[target + 2 * pair + 1] = byte &>> 4
                }
                if count % 2 == 1 { unsafe codes[target + count - 1] = packed[position + count / 2] & 15 }
            }
        }
    }

    /// (code − zero) · scale of unsigned codes.
    static func multiply(
        _ codes: [UInt8], _ range: Range<Int>, zero: Int32, scale: Float, into values: inout [Float]
    ) {
        precondition(codes.count >= range.upperBound && values.count >= range.upperBound)
        unsafe codes.withUnsafeBufferPointer { codes in
            unsafe values.withUnsafeMutableBufferPointer { values in
                for index in range {
                    unsafe values[index] = Float(Int32(truncatingIfNeeded: codes[index]) &- zero) * scale
                }
            }
        }
    }

    /// code · scale of codes in two's complement.
    static func multiplySigned(_ codes: [UInt8], _ range: Range<Int>, scale: Float, into values: inout [Float]) {
        precondition(codes.count >= range.upperBound && values.count >= range.upperBound)
        unsafe codes.withUnsafeBufferPointer { codes in
            unsafe values.withUnsafeMutableBufferPointer { values in
                for index in range {
                    let code = unsafe Int32(truncatingIfNeeded: Int8(truncatingIfNeeded: codes[index]))
                    unsafe values[index] = Float(code) * scale
                }
            }
        }
    }

    /// (code − zero) · scale of the codes in bits `shift` to `shift` + 3 of words.
    static func multiply(
        _ words: [UInt32], _ range: Range<Int>, shift: UInt32, zero: Int32, scale: Float, into values: inout [Float],
        at target: Int
    ) {
        precondition(words.count >= range.upperBound && values.count >= target + range.count)
        unsafe words.withUnsafeBufferPointer { words in
            unsafe values.withUnsafeMutableBufferPointer { values in
                for index in 0..<range.count {
                    let code = unsafe Int32(truncatingIfNeeded: words[range.lowerBound + index] &>> shift & 15)
                    unsafe values[target + index] = Float(code &- zero) * scale
                }
            }
        }
    }

    /// Multiplies values by one factor.
    static func scale(_ values: inout [Float], _ range: Range<Int>, by factor: Float) {
        precondition(values.count >= range.upperBound)
        unsafe values.withUnsafeMutableBufferPointer { values in
            for index in range { unsafe values[index] *= factor }
        }
    }

    /// Adds one bias to values.
    static func add(_ bias: Float, to values: inout [Float], _ range: Range<Int>) {
        precondition(values.count >= range.upperBound)
        unsafe values.withUnsafeMutableBufferPointer { values in
            for index in range { unsafe values[index] += bias }
        }
    }

    /// Divides values from `position` on by the divisors of some columns.
    static func divide(_ values: inout [Float], at position: Int, by divisors: [Float], _ columns: Range<Int>) {
        precondition(values.count >= position + columns.count && divisors.count >= columns.upperBound)
        unsafe divisors.withUnsafeBufferPointer { divisors in
            unsafe values.withUnsafeMutableBufferPointer { values in
                for index in 0..<columns.count {
                    unsafe values[position + index] /= divisors[columns.lowerBound + index]
                }
            }
        }
    }

    /// Fills `words` with one little-endian word of each row of `width` words.
    static func gather(_ bytes: [UInt8], every width: Int, from lane: Int, into words: inout [UInt32]) {
        precondition(lane < width && bytes.count >= words.count * width * 4)
        unsafe bytes.withUnsafeBytes { bytes in
            unsafe words.withUnsafeMutableBufferPointer { words in
                for row in 0..<words.count {
                    let bits = unsafe bytes.loadUnaligned(fromByteOffset: (row * width + lane) * 4, as: UInt32.self)
                    unsafe words[row] = UInt32(littleEndian: bits)
                }
            }
        }
    }
}
