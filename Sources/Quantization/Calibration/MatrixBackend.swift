internal import LinearAlgebra

/// The library that computes products of matrices for recipes with calibration data.
package enum MatrixBackend {
    /// What computes, as it joins the identity of an artifact; nil where the library is not installed.
    package static var name: String? {
        // Whoever needs the library is refused where it is not; that it is not there is all that the error says.
        (try? OpenBLAS())?.name
    }

    /// Throws `calibration.unavailable` where the library is not installed.
    package static func require() throws(QuantizationError) { _ = try OpenBLAS.forCalibration() }

    /// Address space that `threads` threads take which are never all in products at once; little of it is touched.
    package static func addressSpace(threads: Int) -> Int {
        OpenBLAS.addressSpacePerThread * min(max(1, threads), OpenBLAS.maximumThreads)
    }
}

extension Recipe {
    /// Whether any weight is coded by what is known of its inputs.
    package var usesCalibration: Bool { variants.contains(where: \.usesData) }

    /// Whether codes are chosen through products of matrices, so that the artifact depends on what computes them.
    package var usesMatrices: Bool { variants.contains { $0.usesData && $0.mode == .best } }
}
