import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;

/** Asks the server at args[0] with the JDK's HttpClient as it comes. Each line: case, status, body; separated by tabs. */
public class Client {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        String body = body("cs.LG");
        tell("ready", request("/v2/health/ready").GET().build());
        tell("json", infer(BodyPublishers.ofString(body)).build());
        tell("again", infer(BodyPublishers.ofString(body)).build());
        tell("chunked", infer(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(bytes(body)))).build());
        tell("expect-continue", infer(BodyPublishers.ofString(body)).expectContinue(true).build());
        tell("large", infer(BodyPublishers.ofString(body("cs.LG " + "word ".repeat(20_000)))).build());
        tell("refused", infer(BodyPublishers.ofString("{")).build());
        tell("async", CLIENT.sendAsync(infer(BodyPublishers.ofString(body)).build(), BodyHandlers.ofString()).get());
    }

    private static String body(String text) {
        return "{\"inputs\": [{\"name\": \"text\", \"datatype\": \"BYTES\", \"shape\": [1], \"data\": [\"" + text + "\"]}],"
            + " \"outputs\": [{\"name\": \"labels\"}]}";
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static HttpRequest.Builder infer(BodyPublisher publisher) {
        return request("/v2/models/papers/infer").header("Content-Type", "application/json").POST(publisher);
    }

    private static HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(server + path));
    }

    private static void tell(String name, HttpRequest request) throws Exception {
        tell(name, CLIENT.send(request, BodyHandlers.ofString()));
    }

    private static void tell(String name, HttpResponse<String> response) {
        System.out.println(name + "\t" + response.statusCode() + "\t" + response.body());
    }
}
