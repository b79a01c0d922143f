// A customer of the demo's shop: asks for a path, with a header or without. Arguments: PATH [NAME VALUE]
const [path, name, value] = process.argv.slice(2);
const response = await fetch(`http://127.0.0.1${path}`, { headers: name ? { [name]: value } : {} });
console.log(`  $ curl ${name ? `-H '${name}: ${value}' ` : ''}shop${path}   ${(await response.text()).trim()}`);
