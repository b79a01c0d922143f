// java.net.http: GET, POST of a file, GET of something large; HTTP/1.1 in the clear, HTTP/2 over TLS.
// Arguments: URL SECURE-URL FILE CERTIFICATE

import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Fetch {
    private static HttpClient client;

    private static void ask(HttpRequest.Builder request) throws Exception {
        System.out.print(client.send(request.build(), HttpResponse.BodyHandlers.ofString()).body());
    }

    private static void askAll(String url, Path file) throws Exception {
        ask(HttpRequest.newBuilder(URI.create(url + "/hello")));
        ask(HttpRequest.newBuilder(URI.create(url + "/post")).POST(HttpRequest.BodyPublishers.ofFile(file)));
        HttpRequest large = HttpRequest.newBuilder(URI.create(url + "/large")).build();
        byte[] content = client.send(large, HttpResponse.BodyHandlers.ofByteArray()).body();
        StringBuilder hex = new StringBuilder();
        for (byte one : MessageDigest.getInstance("SHA-256").digest(content)) hex.append(String.format("%02x", one));
        System.out.println(hex);
    }

    private static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream input = new FileInputStream(file)) {
            store.setCertificateEntry("shop", CertificateFactory.getInstance("X.509").generateCertificate(input));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] words) throws Exception {
        Path file = Path.of(words[2]);
        client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        askAll(words[0], file);
        client = HttpClient.newBuilder().sslContext(trusting(words[3])).build();
        askAll(words[1], file);
    }
}
