package hemline

import java.io.Closeable
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter

/** Runs @ARTIFACT@ in LiteRT; one thread at a time may use it. */
class Classifier(artifact: File) : Closeable {
    private val interpreter = Interpreter(artifact, Interpreter.Options().setNumThreads(1))
    private val output = ByteBuffer.allocateDirect(Model.OUTPUT_BYTES).order(ByteOrder.nativeOrder())

    /** Pixels are 0 to 255, height × width × channels, row by row. */
    fun classify(pixels: ByteArray): Prediction {
        output.rewind()
        val inputs = arrayOf<Any>(Model.encode(pixels))
        interpreter.runForMultipleInputsOutputs(inputs, mapOf<Int, Any>(@OUTPUT_POSITION@ to output))
        output.rewind()
        return Model.decode(output)
    }

    override fun close() = interpreter.close()
}
