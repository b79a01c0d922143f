// Unmodified programs and runtimes through the supervisor; net-peer.ts plays the client and the target.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Workshop } from './net-run.ts';

let shop: Workshop;
beforeAll(() => {
  shop = new Workshop();
});
afterAll(() => shop.clean());

describe('programs', () => {
  it('curl gets a page, and says who refuses', async () => {
    const page = await shop.run(['curl', '-sS', '-w', '%{remote_ip} %{local_ip}', 'http://10.9.9.9/'], { dialMs: 50 });
    expect(page).toMatchObject({ code: 0, stdout: 'hello\n10.9.9.9 10.1.2.3' });
    expect((await shop.run(['curl', '-sS', 'http://10.9.9.9:1001/'], { dialMs: 50 })).code).toBe(7);
  });

  it('node connects, fetches, sends datagrams and keeps ticking', async () => {
    const source = `
const net = require('node:net'), dgram = require('node:dgram');
let ticks = 0; const timer = setInterval(() => ticks++, 5);
const begun = Date.now();
const s = net.connect(7, '10.9.9.9', () => {
  console.log(ticks > 20, Date.now() - begun >= 500, s.remoteAddress, s.localAddress);
  s.end('hello'); });
s.on('data', (d) => console.log(String(d)));
s.on('close', (hadError) => { console.log('closed', hadError);
  net.connect(1001, '10.9.9.9').on('error', (e) => { console.log(e.code);
    net.connect(1003, '10.9.9.9').on('error', async (e) => { console.log(e.code);
      console.log(await (await fetch('http://10.9.9.9/')).text());
      const u = dgram.createSocket('udp4');
      u.on('message', (m, from) => { console.log(String(m), from.address, from.port); u.close(); clearInterval(timer); });
      u.send('datagram', 5000, '10.9.9.9'); }); }); });`;
    const ended = await shop.run(['node', '-e', source], { dialMs: 500 });
    expect(ended.stdout).toBe(
      'true true 10.9.9.9 10.1.2.3\nhello\nclosed false\nECONNREFUSED\nEHOSTUNREACH\nhello\n\ndatagram 10.9.9.9 5000\n',
    );
  });

  it('a pure Go program dials, fails and sends datagrams', async () => {
    fs.writeFileSync(
      path.join(shop.folder, 'main.go'),
      `package main
import ("fmt"; "io"; "net"; "net/http"; "errors"; "syscall")
func main() {
	c, err := net.Dial("tcp", "10.9.9.9:7"); if err != nil { panic(err) }
	c.Write([]byte("go")); b := make([]byte, 9); n, _ := c.Read(b); fmt.Println(string(b[:n]), c.RemoteAddr(), c.LocalAddr().(*net.TCPAddr).IP)
	_, err = net.Dial("tcp", "10.9.9.9:1001"); fmt.Println(errors.Is(err, syscall.ECONNREFUSED))
	r, err := http.Get("http://10.9.9.9/"); if err != nil { panic(err) }
	body, _ := io.ReadAll(r.Body); fmt.Print(string(body))
	u, _ := net.ListenPacket("udp4", ":0"); u.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(10, 9, 9, 9), Port: 5000})
	n, from, err := u.ReadFrom(b); fmt.Println(n, from, err)
}
`,
    );
    execFileSync('go', ['build', '-o', 'program', 'main.go'], {
      cwd: shop.folder,
      env: { ...process.env, CGO_ENABLED: '0', GOCACHE: path.join(shop.folder, 'cache'), GOFLAGS: '-mod=mod' },
      stdio: 'pipe',
    });
    const ended = await shop.run([path.join(shop.folder, 'program')], { dialMs: 30 });
    expect(ended).toMatchObject({ code: 0, stdout: 'go 10.9.9.9:7 10.1.2.3\ntrue\nhello\n1 10.9.9.9:5000 <nil>\n' });
  }, 120_000);

  it('asyncio opens a hundred connections at once', async () => {
    const ended = await shop.python(
      `
import asyncio
async def one(i):
    r, w = await asyncio.open_connection('10.9.9.9', 7); w.write(b'%4d' % i); d = await r.readexactly(4); w.close(); return int(d) == i
async def main(): print(sum(await asyncio.gather(*(one(i) for i in range(100)))))
asyncio.run(main())`,
      { dialMs: 100 },
    );
    expect(ended.stdout).toBe('100\n');
  });

  it('java connects with and without a time limit', async () => {
    const file = path.join(shop.folder, 'Main.java');
    fs.writeFileSync(
      file,
      `import java.net.*;
public class Main { public static void main(String[] a) throws Exception {
  Socket s = new Socket("10.9.9.9", 7); s.getOutputStream().write(65); System.out.println(s.getInputStream().read() + " " + s.getRemoteSocketAddress());
  Socket t = new Socket(); t.connect(new InetSocketAddress("10.9.9.9", 7), 3000); System.out.println(t.getLocalAddress());
  try { new Socket().connect(new InetSocketAddress("10.9.9.9", 1001), 3000); } catch (ConnectException e) { System.out.println(e.getMessage()); }
  DatagramSocket u = new DatagramSocket(); u.send(new DatagramPacket(new byte[3], 3, InetAddress.getByName("10.9.9.9"), 5000));
  DatagramPacket p = new DatagramPacket(new byte[9], 9); u.receive(p); System.out.println(p.getLength() + " " + p.getAddress().getHostAddress());
} }`,
    );
    const ended = await shop.run(['java', file], { dialMs: 30 });
    expect(ended.stdout).toBe('65 /10.9.9.9:7\n/10.1.2.3\nConnection refused\n3 10.9.9.9\n');
  }, 60_000);
});

describe('unix sockets', () => {
  it('of the target are connected when the session asks for it', async () => {
    const source = `
import socket
for kind in socket.SOCK_STREAM, socket.SOCK_SEQPACKET:
    s = socket.socket(socket.AF_UNIX, kind); s.connect('/run/target.sock'); print(s.getpeername()); s.send(b'one'); print(s.recv(9)); s.shutdown(1); print(s.recv(9))`;
    const ended = await shop.run(['python3', '-c', source], { features: 4 | 16 });
    expect(ended.stdout).toBe("/run/target.sock\nb'one'\nb''\n".repeat(2));
    expect((await shop.run(['python3', '-c', source])).stderr).toMatch(/FileNotFoundError/);
  });

  it('of resolver caches do not exist', async () => {
    const ended = await shop.run(
      [
        'python3',
        '-c',
        "import socket\ntry: socket.socket(socket.AF_UNIX).connect('/run/nscd/socket')\nexcept OSError as e: print(e.errno)",
      ],
      { features: 4 | 8 },
    );
    expect(ended.stdout).toBe('2\n');
  });
});

describe('without the feature', () => {
  it('nothing of the network is trapped', async () => {
    const ended = await shop.run(
      [
        'python3',
        '-c',
        "import socket\nl = socket.create_server(('127.0.0.1', 0)); s = socket.create_connection(l.getsockname()); print(s.getpeername() == l.getsockname())",
      ],
      { features: 0 },
    );
    expect(ended.stdout).toBe('True\n');
  });
});
