// Go's own resolver: `NAME: ADDRESS...` of each name in order of their text, then the SRV, TXT, CNAME and PTR records of
// names and addresses that are given as TYPE=NAME.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
)

func main() {
	resolver := &net.Resolver{PreferGo: true}
	ctx := context.Background()
	for _, word := range os.Args[1:] {
		kind, name, isTyped := strings.Cut(word, "=")
		if !isTyped {
			kind, name = "", word
		}
		var found []string
		var err error
		switch kind {
		case "SRV":
			var records []*net.SRV
			_, records, err = resolver.LookupSRV(ctx, "", "", name)
			for _, one := range records {
				found = append(found, fmt.Sprintf("%d %s", one.Port, one.Target))
			}
		case "TXT":
			found, err = resolver.LookupTXT(ctx, name)
			for index, text := range found {
				found[index] = fmt.Sprint(len(text))
			}
		case "CNAME":
			var canonical string
			canonical, err = resolver.LookupCNAME(ctx, name)
			found = []string{canonical}
		case "PTR":
			found, err = resolver.LookupAddr(ctx, name)
		default:
			found, err = resolver.LookupHost(ctx, name)
		}
		var failure *net.DNSError
		if errors.As(err, &failure) && failure.IsNotFound {
			found = []string{"none"}
		} else if err != nil {
			found = []string{err.Error()}
		}
		sort.Strings(found)
		fmt.Printf("%s: %s\n", word, strings.Join(found, " "))
	}
}
