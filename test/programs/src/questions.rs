// The questions of questions.c, asked by Rust's standard library.
use std::os::unix::fs::MetadataExt;
use std::{env, fs};

fn main() {
    let folder = env::args().nth(1).expect("a folder");
    let hello = format!("{folder}/hello.txt");
    println!("env={}", env::var("SHOP_MODE").unwrap_or_default());
    println!("text={}", fs::read_to_string(&hello).expect("hello.txt").trim());
    let stat = fs::metadata(&hello).expect("hello.txt");
    println!("stat={} {:o} {}", stat.size(), stat.mode() & 0o7777, stat.mtime());
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    println!("list={}", names.join(","));
    let missing = fs::read(format!("{folder}/missing.txt")).expect_err("no such file");
    println!("missing={}", missing.raw_os_error().unwrap_or(0));
}
