import Foundation

let passed = try selfTest(Data(contentsOf: URL(fileURLWithPath: "vectors.json")))
print(passed ? "passed" : "FAILED")
exit(passed ? 0 : 1)
