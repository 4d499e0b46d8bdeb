import Foundation
import FoundationXML
import Testing

@testable import VivaService

/// A page as a strict XML parser sees it: parsing fails where markup is open, doubled or mixed up.
final class Markup: NSObject, XMLParserDelegate {
    struct Element: Equatable {
        let name: String
        let attributes: [String: String]

        func number(_ attribute: String) -> Double? { attributes[attribute].flatMap { Double($0) } }
    }

    private(set) var elements: [Element] = []
    private(set) var text = ""

    init(_ html: HTML) throws {
        super.init()
        let parser = XMLParser(data: Data(html.text.utf8))
        parser.delegate = self
        parser.shouldResolveExternalEntities = false
        let isWhole = parser.parse()
        try #require(isWhole, "\(String(describing: parser.parserError)) at line \(parser.lineNumber)")
    }

    func all(_ name: String) -> [Element] { elements.filter { $0.name == name } }

    func parser(
        _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
        attributes: [String: String]
    ) {
        elements.append(Element(name: name, attributes: attributes))
    }

    func parser(_ parser: XMLParser, foundCharacters characters: String) { text += characters }
}
