/// The state of a service as a list of checks: in order when every check is.
package struct HealthReport: Sendable, Equatable {
    /// One thing that was looked at.
    package struct Check: Sendable, Equatable {
        /// A short stable name, for instance `disk`.
        package let name: String
        /// Whether it is as it should be.
        package let ok: Bool
        /// The evidence for people, empty when there is nothing to say.
        package let detail: String

        /// Takes every field as it is.
        package init(name: String, ok: Bool, detail: String = "") {
            self.name = name
            self.ok = ok
            self.detail = detail
        }
    }

    /// In the order in which they are told.
    package let checks: [Check]

    /// A report of these checks.
    package init(checks: [Check]) {
        self.checks = checks
    }

    /// True when no check failed; a report without checks is in order.
    package var ok: Bool { checks.allSatisfy(\.ok) }

    /// `{"status":"ok"|"unavailable","checks":[{"name":…,"ok":…,"detail":…}]}` in UTF-8; an empty detail is left out.
    package func json() -> [UInt8] {
        var json = JSONText()
        json.append("{\"status\":")
        json.append(string: ok ? "ok" : "unavailable")
        json.append(",\"checks\":[")
        json.append(list: checks) { json, check in
            json.append("{\"name\":")
            json.append(string: check.name)
            json.append(",\"ok\":")
            json.append(bool: check.ok)
            if !check.detail.isEmpty {
                json.append(",\"detail\":")
                json.append(string: check.detail)
            }
            json.append("}")
        }
        json.append("]}")
        return json.bytes
    }
}
