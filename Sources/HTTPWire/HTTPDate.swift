/// Formats seconds since 1970 as an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
package func httpDate(secondsSinceEpoch: Int) -> String {
    ""
}
