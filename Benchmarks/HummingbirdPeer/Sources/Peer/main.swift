import Glibc
import Hummingbird
import Logging

// What the service is compared with: Peer PORT FOLDER answers GET /healthz, keeps the body of PUT /NAME in a file of
// FOLDER, sends it to GET /NAME and forgets it at DELETE /NAME, as Hummingbird's documentation does these things.
let arguments = CommandLine.arguments
guard arguments.count == 3, let port = Int(arguments[1]) else {
    fatalError("usage: Peer PORT FOLDER")
}
let folder = arguments[2]
var logger = Logger(label: "peer")
logger.logLevel = .error
let files = FileIO()
let router = Router()
router.get("/healthz") { _, _ in
    Response(
        status: .ok, headers: [.contentType: "application/json"],
        body: .init(byteBuffer: ByteBuffer(string: #"{"status":"ok"}"#)))
}
router.put("/:name") { request, context in
    let path = try "\(folder)/\(context.parameters.require("name"))"
    try await files.writeFile(contents: request.body, path: path, context: context)
    return HTTPResponse.Status.created
}
router.get("/:name") { _, context in
    let path = try "\(folder)/\(context.parameters.require("name"))"
    return Response(status: .ok, body: try await files.loadFile(path: path, context: context))
}
router.delete("/:name") { _, context in
    let isGone = try unlink("\(folder)/\(context.parameters.require("name"))") == 0
    return isGone ? HTTPResponse.Status.noContent : .notFound
}
try await Application(
    router: router, configuration: .init(address: .hostname("127.0.0.1", port: port)), logger: logger
).runService()
