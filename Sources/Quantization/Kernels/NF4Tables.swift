/// The NF4 tables, as float32 bit patterns.
///
/// Source: bitsandbytes 0.50.2, `functional.get_4bit_type("nf4")`; QLoRA, Dettmers et al. 2023, appendix E.
enum NF4Tables {
    /// The values of codes 0 to 15, ascending from -1 to 1; code 7 is zero.
    static let values = SIMD16<Float>(
        bitPattern: [
            0xbf80_0000, 0xbf32_39b1, 0xbf06_6b30, 0xbeca_32a0, 0xbe91_a24d, 0xbe3d_353f, 0xbdba_7871, 0x0000_0000,
            0x3da2_faff, 0x3e24_cae3, 0x3e7c_04dd, 0x3ead_033a, 0x3ee1_a4b8, 0x3f10_07ab, 0x3f39_13b3, 0x3f80_0000,
        ])

    /// The midpoints of neighbouring values, rounded to float32.
    ///
    /// The code of v is the number of decision points strictly below v. Lane 15 holds infinity, below nothing.
    static let decisionPoints = SIMD16<Float>(
        bitPattern: [
            0xbf59_1cd8, 0xbf1c_5270, 0xbeeb_8480, 0xbead_ea76, 0xbe70_3cec, 0xbe0d_38bc, 0xbd3a_7871, 0x3d22_faff,
            0x3df6_4862, 0x3e50_67e0, 0x3e95_82d4, 0x3ec7_53f9, 0x3f00_6d04, 0x3f24_8daf, 0x3f5c_89da, 0x7f80_0000,
        ])
}
