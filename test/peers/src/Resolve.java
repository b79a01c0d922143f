// InetAddress of each name: `NAME: ADDRESS...` in order of their text.

import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.TreeSet;

public class Resolve {
    public static void main(String[] names) {
        for (String name : names) {
            TreeSet<String> found = new TreeSet<>();
            try {
                for (InetAddress one : InetAddress.getAllByName(name)) {
                    String text = one.getHostAddress();
                    found.add(one instanceof Inet6Address ? text.replaceAll("(:0)+:", "::") : text);
                }
            } catch (UnknownHostException error) {
                found.add("none");
            }
            System.out.println(name + ": " + String.join(" ", found));
        }
    }
}
