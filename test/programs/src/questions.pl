# The questions of questions.c, asked by Perl.
use strict;
use warnings;

my $folder = $ARGV[0];
print 'env=', $ENV{SHOP_MODE} // '', "\n";
open(my $file, '<', "$folder/hello.txt") or die "$folder/hello.txt: $!";
chomp(my $text = <$file>);
print "text=$text\n";
my @stat = stat("$folder/hello.txt") or die "stat: $!";
printf "stat=%d %o %d\n", $stat[7], $stat[2] & 07777, $stat[9];
opendir(my $dir, $folder) or die "$folder: $!";
print 'list=', join(',', sort grep { !/^\./ } readdir $dir), "\n";
open(my $missing, '<', "$folder/missing.txt");
print 'missing=', $! + 0, "\n";
