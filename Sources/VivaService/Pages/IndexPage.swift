/// The first page: what the service is for, and the three commands that do the main job.
enum IndexPage {
    static var page: Page {
        Page(
            title: "Quantize",
            body: """
                <header><h1>viva-tensor</h1>
                <p>Send weights, get INT8, NF4, INT4, FP8 or AWQ artifacts that bitsandbytes, transformers, vLLM, \
                AutoAWQ and MLX load as they are.</p></header>
                <main>
                <pre><code>\(HTML(lines: commands))</code></pre>
                <ul>
                <li><a href="/v1/methods">Methods and their options</a></li>
                <li><a href="/v1/artifacts">Artifacts</a>; the report of each is a page in a browser</li>
                <li><a href="/v1/plan?parameters=13B&amp;gpu=rtx-4090">Does LLaMA-13B fit on an RTX 4090?</a></li>
                <li><a href="/readyz">Health</a>, <a href="/metrics">metrics</a></li>
                <li><a href="/openapi.yaml">The contract</a></li>
                </ul>
                </main>
                """)
    }

    private static let commands = """
        curl -X POST -T model.safetensors 'http://localhost:8080/v1/quantize?method=nf4'
        curl -o model.nf4.safetensors 'http://localhost:8080/v1/artifacts/ID/content'
        curl 'http://localhost:8080/v1/artifacts/ID/report'
        """
}
