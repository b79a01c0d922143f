// The target of the demo: a small service, one of many that could stand here.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const prices = readFileSync('/srv/shop/prices.json');
createServer((_request, response) => response.end(prices)).listen(80, () => console.log('it listens on port 80'));
