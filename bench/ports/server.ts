import { createServer } from 'node:http'

/*
 * The server that is measured: one answer, at once. It listens on a TCP port, to be reached directly, and on the Unix
 * socket to which a port of the daemon forwards. Arguments: the port, the path.
 */
const [port, path] = process.argv.slice(2)
const answer = JSON.stringify({
  items: Array.from({ length: 40 }, (_, at) => ({ at, name: `item ${at}`, price: at * 1.5 })),
})

function serve(target: number | string, ready: () => void): void {
  createServer((question, response) => response.end(question.url === '/json' ? answer : 'hello')).listen(
    target,
    ready,
  )
}

serve(Number(port), () => serve(path ?? '', () => process.send?.('up')))
