import { createServer } from 'node:http'

/*
 * The server that is measured: one answer, at once or made for each request. It listens on a TCP port, to be reached
 * directly, and on the Unix socket to which a port of the daemon forwards. Arguments: the port, the path.
 */
const [port, path] = process.argv.slice(2)

/** What an application does for a request, at the least: it makes an answer. */
function list(): string {
  return JSON.stringify({
    items: Array.from({ length: 200 }, (_, at) => ({ at, name: `item ${at}`, price: at * 1.5 })),
  })
}

function serve(target: number | string, ready: () => void): void {
  createServer((question, response) => response.end(question.url === '/json' ? list() : 'hello')).listen(
    target,
    ready,
  )
}

serve(Number(port), () => serve(path ?? '', () => process.send?.('up')))
