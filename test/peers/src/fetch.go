// net/http: GET, POST of a file, GET of something large; HTTP/1.1 in the clear, HTTP/2 over TLS.
// Arguments: URL SECURE-URL FILE CERTIFICATE
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func show(response *http.Response, err error) {
	must(err)
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	must(err)
}

func askAll(client *http.Client, url, file string) {
	show(client.Get(url + "/hello"))
	body, err := os.Open(file)
	must(err)
	show(client.Post(url+"/post", "application/octet-stream", body))
	response, err := client.Get(url + "/large")
	must(err)
	defer response.Body.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, response.Body)
	must(err)
	fmt.Printf("%x\n", hash.Sum(nil))
}

func main() {
	certificate, err := os.ReadFile(os.Args[4])
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport}
	askAll(client, os.Args[1], os.Args[3])
	askAll(client, os.Args[2], os.Args[3])
}
