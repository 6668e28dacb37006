import Foundation

var passed = false
do {
    passed = try selfTest(Data(contentsOf: URL(fileURLWithPath: "vectors.json")))
} catch {
    print("vectors.json is missing here, or damaged (\(error.localizedDescription))")
}
print(passed ? "passed" : "FAILED")
exit(passed ? 0 : 1)
