# The questions of questions.c, asked by Ruby.
folder = ARGV[0]
puts "env=#{ENV['SHOP_MODE']}"
puts "text=#{File.read("#{folder}/hello.txt").strip}"
stat = File.stat("#{folder}/hello.txt")
puts format('stat=%d %o %d', stat.size, stat.mode & 0o7777, stat.mtime.to_i)
puts "list=#{Dir.children(folder).sort.join(',')}"
begin
  File.open("#{folder}/missing.txt")
  puts 'missing=0'
rescue SystemCallError => e
  puts "missing=#{e.errno}"
end
