# The questions of questions.c, asked by Python.
import os
import sys

folder = sys.argv[1]
print("env=" + os.environ.get("SHOP_MODE", ""))
with open(folder + "/hello.txt") as file:
    print("text=" + file.read().strip())
stat = os.stat(folder + "/hello.txt")
print("stat=%d %o %d" % (stat.st_size, stat.st_mode & 0o7777, stat.st_mtime))
print("list=" + ",".join(sorted(os.listdir(folder))))
try:
    open(folder + "/missing.txt")
    print("missing=0")
except OSError as error:
    print("missing=%d" % error.errno)
