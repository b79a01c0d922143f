<?php
// The questions of questions.c, asked by PHP, which tells errors by their text only.
$folder = $argv[1];
echo 'env=', getenv('SHOP_MODE'), "\n";
echo 'text=', trim(file_get_contents("$folder/hello.txt")), "\n";
$stat = stat("$folder/hello.txt");
printf("stat=%d %o %d\n", $stat['size'], $stat['mode'] & 07777, $stat['mtime']);
$names = array_values(array_diff(scandir($folder), ['.', '..']));
sort($names);
echo 'list=', implode(',', $names), "\n";
$missing = @file_get_contents("$folder/missing.txt");
echo 'missing=', str_contains(error_get_last()['message'], 'No such file or directory') ? 2 : 0, "\n";
