import ArgumentParser
import VivaService

/// The executable: flags to configuration to run.
@main
struct Viva: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "viva",
        abstract: "Turns model weights into INT8, INT4, FP8, NF4 and AWQ artifacts that the ecosystem loads.",
        discussion: """
            Serve, then send weights with curl:
              viva serve --listen 127.0.0.1:8080 --data ./viva-data
              curl -X POST -T model.safetensors 'localhost:8080/v1/quantize?method=nf4'

            Or without a server:
              viva quantize model.safetensors --method nf4 -o model.nf4.safetensors
              viva quantize MODEL_DIR --method int4 --target vllm -o OUT_DIR
              viva compare model.safetensors
            """,
        version: Engine.version,
        subcommands: [
            Serve.self, Quantize.self, Dequantize.self, Plan.self, Compare.self, Key.self, GarbageCollection.self,
            FileCheck.self, Audit.self, HealthcheckCommand.self,
            Version.self, Worker.self,
        ])
}

/// `viva version`.
struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the version.")

    func run() {
        print(Engine.name)
    }
}

/// `viva healthcheck`.
struct HealthcheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "healthcheck",
        abstract: "Ask a running service whether it is ready; the exit code says so.",
        discussion: "Speaks plain HTTP; made for a container's HEALTHCHECK.")

    @Option(help: "An address that the service listens on without TLS: HOST:PORT or unix:PATH.")
    var listen = "127.0.0.1:8080"

    func run() throws {
        guard let address = ListenAddress(listen), address.isSecure != true else {
            throw ValidationError("--listen '\(listen)' is not HOST:PORT or unix:PATH")
        }
        let status = try Healthcheck.status(at: address.place)
        print(status == 200 ? "ready" : "not ready (\(status))")
        if status != 200 { throw ExitCode.failure }
    }
}
