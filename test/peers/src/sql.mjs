// A pool of `pg`: ten connections at once, a transaction that is given up, a prepared statement, notifications, and a large
// result. Arguments: HOST PORT USER DATABASE; the password is PGPASSWORD.
import pg from 'pg';

const [host, port, user, database] = process.argv.slice(2);
const pool = new pg.Pool({ host, port: Number(port), user, database, max: 10 });

const clients = await Promise.all(Array.from({ length: 10 }, () => pool.connect()));
const pids = await Promise.all(clients.map((client) => client.query('select pg_backend_pid() as pid')));
console.log('connections', new Set(pids.map(({ rows }) => rows[0].pid)).size);

const [first, second] = clients;
await first.query('create table goods (name text primary key, price integer)');
for (let number = 0; number < 100; number += 1) {
  await first.query({ name: 'put', text: 'insert into goods values ($1, $2)', values: [`article ${number}`, number] });
}
await second.query('begin');
await second.query('delete from goods');
await second.query('rollback');
console.log('sum', (await first.query('select sum(price)::int as sum from goods')).rows[0].sum);

const heard = new Promise((resolve) => second.on('notification', ({ payload }) => resolve(payload)));
await second.query('listen news');
await first.query("notify news, 'sold out'");
console.log('heard', await heard);

const { rows } = await first.query('select repeat(md5(i::text), 10) as text from generate_series(1, 10000) as i');
console.log(
  'rows',
  rows.length,
  rows.reduce((bytes, { text }) => bytes + text.length, 0),
);
console.log('error', await second.query('select nothing').catch((error) => error.code));
for (const client of clients) client.release();
await pool.end();
