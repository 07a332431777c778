// What a port of the daemon costs: the same server reached directly and through the port, by turns, with `wrk`.
// node bench/listen.mjs [rounds] [seconds]
import { execFile, fork, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { systemChance } from '../daemon/kit/chance.ts'
import { createPortKeeper } from '../daemon/listen/listen.ts'

const self = fileURLToPath(import.meta.url)
const DIRECT = 18_081
const THROUGH = 18_082

if (process.send === undefined) await measure(Number(process.argv[2] ?? 5), Number(process.argv[3] ?? 3))
else serve(process.argv[2])

/** The server that is measured: one answer, at once. */
function serve(path) {
  const answer = (_, response) => response.end('hello')
  createServer(answer).listen(DIRECT, '127.0.0.1')
  createServer(answer).listen(path, () => process.send('up'))
}

async function measure(rounds, seconds) {
  if (spawnSync('wrk', ['-v']).error !== undefined) {
    console.log('wrk is not installed (Debian: apt-get install wrk)')
    return
  }
  const dir = mkdtempSync(join(tmpdir(), 'nxb-'))
  const keeper = createPortKeeper({
    runDir: dir,
    chance: systemChance,
    mayOpen: () => true,
    onBug: (error) => {
      throw error
    },
  })
  await keeper.hold('bench/web', [{ name: 'web', host: '127.0.0.1', port: THROUGH }])
  const server = fork(self, [keeper.paths('bench/web', 'bench/web#1').web])
  await new Promise((resolve) => server.once('message', resolve))
  keeper.direct('bench/web', ['bench/web#1'])
  try {
    console.log(
      'requests a second at best, their ratio (median of the rounds, of the best ones), processor time of',
    )
    console.log('the forwarding for each request, lag of the main thread meanwhile (p99)')
    console.log('    conns    direct   through    median      best      cost       lag')
    for (const connections of [8, 32, 128]) console.log(await compare(connections, rounds, seconds))
  } finally {
    server.kill()
    await keeper.close()
    rmSync(dir, { recursive: true, force: true })
  }
}

async function compare(connections, rounds, seconds) {
  const seen = []
  const lag = monitorEventLoopDelay({ resolution: 5 })
  for (let round = 0; round < rounds; round += 1) {
    const direct = await load(DIRECT, connections, seconds)
    lag.enable()
    const before = process.cpuUsage()
    const through = await load(THROUGH, connections, seconds)
    const { user, system } = process.cpuUsage(before)
    lag.disable()
    seen.push({ direct, through, ratio: through / direct, cost: (user + system) / (through * seconds) })
  }
  const of = (what) => seen.map((one) => one[what]).sort((a, b) => a - b)[seen.length >> 1]
  const lagMs = (lag.percentile(99) / 1e6 - 5).toFixed(1)
  const best = (what) => Math.max(...seen.map((one) => one[what])).toFixed(0)
  const ratios = [of('ratio').toFixed(2), (best('through') / best('direct')).toFixed(2)]
  const cells = [best('direct'), best('through'), ...ratios, `${of('cost').toFixed(1)} us`, `${lagMs} ms`]
  return [connections, ...cells].map((cell) => String(cell).padStart(9)).join(' ')
}

async function load(port, connections, seconds) {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, `http://127.0.0.1:${port}/`]
  const { stdout } = await promisify(execFile)('wrk', args)
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1])
}
