// The questions of questions.c, asked by Java: java.nio for files, its errors are classes.
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

class Questions {
  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(arguments[0]);
    Path hello = folder.resolve("hello.txt");
    String mode = System.getenv("SHOP_MODE");
    System.out.println("env=" + (mode == null ? "" : mode));
    System.out.println("text=" + Files.readString(hello).strip());
    int bits = (Integer) Files.getAttribute(hello, "unix:mode");
    long seconds = Files.getLastModifiedTime(hello).to(TimeUnit.SECONDS);
    System.out.println("stat=" + Files.size(hello) + " " + Integer.toOctalString(bits & 07777) + " " + seconds);
    try (var entries = Files.list(folder)) {
      System.out.println(
          "list=" + entries.map(path -> path.getFileName().toString()).sorted().collect(Collectors.joining(",")));
    }
    try {
      Files.readString(folder.resolve("missing.txt"));
      System.out.println("missing=0");
    } catch (NoSuchFileException missing) {
      System.out.println("missing=2");
    }
  }
}
