// The questions of questions.c, asked by Go, which makes system calls without libc. Built with cgo and pure static.
package main

import (
	"errors"
	"fmt"
	"os"
	_ "os/user" // links libc when built with cgo
	"sort"
	"strings"
	"syscall"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	folder := os.Args[1]
	fmt.Println("env=" + os.Getenv("SHOP_MODE"))
	text, err := os.ReadFile(folder + "/hello.txt")
	check(err)
	fmt.Println("text=" + strings.TrimSpace(string(text)))
	stat, err := os.Stat(folder + "/hello.txt")
	check(err)
	fmt.Printf("stat=%d %o %d\n", stat.Size(), stat.Mode().Perm(), stat.ModTime().Unix())
	entries, err := os.ReadDir(folder)
	check(err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	sort.Strings(names)
	fmt.Println("list=" + strings.Join(names, ","))
	_, err = os.ReadFile(folder + "/missing.txt")
	var number syscall.Errno
	errors.As(err, &number)
	fmt.Printf("missing=%d\n", int(number))
}
