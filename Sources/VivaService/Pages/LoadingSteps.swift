import Quantization

/// How an artifact is put to use, by the library that reads its format.
struct LoadingSteps {
    let card: ArtifactCard
    /// The members for `config.json` as they stand in the description; nil when there are none.
    let config: String?
    /// Whether the page comes from a service, which also has the bytes. A folder's has no digest.
    let isServed: Bool

    private var usesMLX: Bool { card.recipe.format == ArtifactFormat.mlx.rawValue }

    var html: HTML {
        guard !hexadecimal.isEmpty else {
            return "<section><h2>Load it</h2><pre><code>\(HTML(lines: load))</code></pre></section>"
        }
        return """
            <section><h2>Load it</h2>
            <p>\(fetch) Then:</p>
            <pre><code>\(HTML(lines: script))</code></pre>
            \(configuration)
            </section>
            <section><h2>Verify it</h2>
            <p>The digest of the bytes, for <code>sha256sum -c</code>\(isServed ? tag : .empty):</p>
            <pre><code>\(hexadecimal)  model.safetensors</code></pre>
            </section>
            """
    }

    private var hexadecimal: String { String(card.digest.split(separator: ":").last ?? "") }

    private var tag: HTML { ", also the <code>ETag</code> and the <code>Repr-Digest</code> of the download" }

    private var fetch: HTML {
        let place: HTML = """
            as <code>model/model.safetensors</code> beside the model’s own <code>config.json</code>
            """
        guard isServed else { return "Put the artifact \(place)." }
        return """
            Save <a href="/v1/artifacts/\(card.id)/content">the artifact</a> (\(Quantity.bytes(card.bytes))) \(place), \
            and <a href="/v1/artifacts/\(card.id)/config.json">its configuration</a> as <code>quantization.json</code>.
            """
    }

    private var load: String {
        let needs = card.recipe.format == ArtifactFormat.bitsandbytes.rawValue ? ", with vllm-bnb-plugin" : ""
        return usesMLX
            ? "from mlx_lm import load\nmodel, tokenizer = load(\"model\")"
            : "from transformers import AutoModelForCausalLM\n"
                + "model = AutoModelForCausalLM.from_pretrained(\"model\")  # or: vllm serve model\(needs)"
    }

    private var script: String {
        let member = usesMLX ? "quantization" : "quantization_config"
        return """
            import json
            config = json.load(open("model/config.json"))
            config["\(member)"] = json.load(open("quantization.json"))["quantization_config"]
            json.dump(config, open("model/config.json", "w"))
            \(load)
            """
    }

    /// Shown where it cannot be fetched.
    private var configuration: HTML {
        guard let config, !isServed else { return .empty }
        return """
            <details><summary><code>quantization.json</code></summary>
            <pre><code>\(HTML(lines: "{\"quantization_config\": \(config)}"))</code></pre></details>
            """
    }
}
