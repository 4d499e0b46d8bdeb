import Tensors

/// Small limits, so that few bytes reach them.
private let limits = {
    var limits = ContainerLimits()
    limits.maxHeaderBytes = 4096
    limits.maxTensors = 20
    limits.maxMetadataItems = 20
    limits.maxRank = 6
    limits.maxNameBytes = 64
    limits.maxTextBytes = 256
    limits.maxArrayItems = 64
    limits.maxNumpyHeaderBytes = 512
    limits.maxMembers = 8
    limits.maxDirectoryBytes = 2048
    return limits
}()

/// safetensors: the header's length is set to fit when the first byte says so, that the damage reaches the JSON.
@Sendable func readSafetensors(_ bytes: [UInt8]) {
    guard let choice = bytes.first else { return }
    var file = Array(bytes.dropFirst())
    if choice % 2 == 0 {
        file = (0..<8).map { UInt8(truncatingIfNeeded: file.count >> (8 * $0)) } + file
    }
    checkHeader(file)
}

/// npy, behind its magic when the first byte says so.
@Sendable func readNumpy(_ bytes: [UInt8]) {
    guard let choice = bytes.first else { return }
    let rest = Array(bytes.dropFirst())
    guard choice % 2 == 0 else { return checkHeader(rest) }
    let length = [UInt8(truncatingIfNeeded: rest.count), UInt8(truncatingIfNeeded: rest.count >> 8)]
    checkHeader([0x93] + Array("NUMPY".utf8) + [1, 0] + length + rest)
}

private func checkHeader(_ file: [UInt8]) {
    for total in [nil, file.count] {
        guard case .complete(let found)? = try? parseHeader(file.span.bytes, totalBytes: total, limits: limits) else {
            continue
        }
        checkEntries(found.entries, dataBytes: found.dataBytes, hasGaps: false)
        precondition(total == nil || found.totalBytes == file.count)
        guard found.container == .safetensors else { continue }
        // Written anew it says the same.
        let json = SafetensorsHeader.serialize(entries: found.entries, metadata: found.metadata)
        let again = SafetensorsHeader.file(prefixing: json, paddedTo: json.count)
        guard
            case .complete(let same)? = try? parseHeader(
                again.span.bytes, totalBytes: again.count + found.dataBytes)
        else { fatalError("an accepted header does not survive being written") }
        precondition(same.entries == found.entries && same.metadata == found.metadata)
    }
    if let whole = try? parseFile(file.span.bytes, limits: limits) { precondition(whole.totalBytes == file.count) }
}

private func checkEntries(_ entries: [TensorEntry], dataBytes: Int, hasGaps: Bool) {
    var covered = 0
    for entry in entries {
        precondition(entry.bytes.lowerBound == covered || (hasGaps && entry.bytes.lowerBound > covered))
        covered = entry.bytes.upperBound
        precondition(entry.elementCount == entry.shape.reduce(1, *))
        precondition(entry.bytes.count * 8 == entry.elementCount * entry.type.bitWidth)
    }
    precondition(hasGaps ? covered <= dataBytes : covered == dataBytes)
    precondition(Set(entries.map { Array($0.name.utf8) }).count == entries.count)
}

/// GGUF headers, behind magic and version when the first byte says so.
@Sendable func readGGUF(_ bytes: [UInt8]) {
    guard let choice = bytes.first else { return }
    let rest = Array(bytes.dropFirst())
    let file = choice % 2 == 0 ? GGUFParser.magic + [3, 0, 0, 0] + rest : rest
    for total in [nil, file.count] {
        guard case .complete(let header)? = try? GGUFParser.parse(file.span.bytes, totalBytes: total, limits: limits)
        else { continue }
        precondition(total == nil || header.totalBytes == file.count)
        checkEntries(header.entries, dataBytes: header.totalBytes - header.dataOffset, hasGaps: true)
        precondition(header.input.totalBytes == header.totalBytes)
        if case .unsigned(let alignment)? = header.value(of: "general.alignment") { precondition(alignment >= 8) }
    }
}

/// Archives: the end record, the directory, and the headers of the members, within limits that the seeds keep to and
/// within some that they do not.
@Sendable func readZip(_ archive: [UInt8]) {
    _ = ZipArchive.begins(archive.span.bytes)
    var tight = limits
    tight.maxNameBytes = 6
    tight.maxMemberBytes = 200
    tight.maxInflatedBytes = 250
    readZip(archive, limits)
    readZip(archive, tight)
}

private func readZip(_ archive: [UInt8], _ limits: ContainerLimits) {
    let tail = Array(archive.suffix(ZipArchive.tailBytes))
    guard let zip = try? ZipArchive(tail: tail.span.bytes, totalBytes: archive.count, limits: limits) else { return }
    precondition(zip.directory.lowerBound >= 0 && zip.directory.upperBound <= archive.count)
    let directory = Array(archive[zip.directory])
    guard let members = try? zip.members(in: directory.span.bytes, limits: limits) else { return }
    precondition(members.count == zip.memberCount)
    var covered = 0
    // The directory may list them in another order than they lie in.
    for member in members.sorted(by: { $0.extent.lowerBound < $1.extent.lowerBound }) {
        precondition(member.extent.lowerBound >= covered && member.extent.upperBound <= zip.directory.lowerBound)
        covered = member.extent.upperBound
        let local = Array(archive[member.extent])
        guard let length = try? member.localHeaderBytes(fixed: local.span.bytes), length <= local.count,
            (try? member.check(local: local.span.extracting(first: length).bytes)) != nil,
            let place = member.descriptor(localHeaderBytes: length)
        else { continue }
        precondition(member.extent.contains(place))
        _ = try? member.check(descriptor: archive.span.extracting(place).bytes)
    }
}
