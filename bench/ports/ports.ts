import { execFile, fork, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { systemChance } from '../../daemon/kit/chance.ts'
import { createPortKeeper } from '../../daemon/listen/listen.ts'
import { median } from '../kit/numbers.ts'
import { printTable } from '../kit/table.ts'

const DIRECT = 18_081
const THROUGH = 18_082

/** One size of load: requests a second over kept connections, reached directly and through the port, by turns. */
export interface PortFigure {
  readonly path: string
  readonly connections: number
  /** Best of the rounds. */
  readonly direct: number
  readonly through: number
  /** Median of the rounds. */
  readonly ratio: number
  /** Processor time of the forwarding for each request, microseconds. */
  readonly costUs: number
  /** p99 of the lag of the main thread meanwhile. */
  readonly lagMs: number
}

/** What a port of the daemon costs, measured with `wrk` beside the same server without one. */
export async function ports(quick: boolean): Promise<readonly PortFigure[]> {
  if (spawnSync('wrk', ['-v']).error !== undefined)
    throw new Error('wrk is not installed (Debian: apt-get install wrk)')
  const dir = mkdtempSync(join(tmpdir(), 'nxb-'))
  const keeper = createPortKeeper({
    runDir: dir,
    chance: systemChance,
    mayOpen: () => true,
    onBug: (error) => {
      throw error
    },
  })
  const [id, instance] = ['bench/web', 'bench/web#1']
  await keeper.hold(id, [{ name: 'web', host: '127.0.0.1', port: THROUGH }])
  const program = fileURLToPath(new URL('server.ts', import.meta.url))
  const server = fork(program, [String(DIRECT), keeper.paths(id, instance)['web'] ?? ''])
  await new Promise((resolve) => server.once('message', resolve))
  keeper.direct(id, [instance])
  const figures: PortFigure[] = []
  try {
    for (const path of ['/', '/json']) {
      for (const connections of [8, 32, 128]) figures.push(await compare(path, connections, quick))
    }
  } finally {
    server.kill()
    await keeper.close()
    rmSync(dir, { recursive: true, force: true })
  }
  printTable([
    ['answer', 'connections', 'direct/s', 'through/s', 'ratio', 'cost, µs', 'lag p99, ms', 'target'],
    ...figures.map(({ path, connections, direct, through, ratio, costUs, lagMs }) => [
      path === '/' ? '5 bytes' : '8 KB JSON, made',
      ...[connections, Math.round(direct), Math.round(through)].map(String),
      ratio.toFixed(2),
      costUs.toFixed(1),
      lagMs.toFixed(1),
      '≥ 0.75',
    ]),
  ])
  return figures
}

async function compare(path: string, connections: number, quick: boolean): Promise<PortFigure> {
  const seconds = quick ? 1 : 3
  const rounds: { readonly direct: number; readonly through: number; readonly costUs: number }[] = []
  const lag = monitorEventLoopDelay({ resolution: LOOK_MS })
  for (let round = 0; round < (quick ? 1 : 5); round += 1) {
    const direct = await load(DIRECT, path, connections, seconds)
    lag.enable()
    const before = process.cpuUsage()
    const through = await load(THROUGH, path, connections, seconds)
    const { user, system } = process.cpuUsage(before)
    lag.disable()
    rounds.push({ direct, through, costUs: (user + system) / (through * seconds) })
  }
  return {
    path,
    connections,
    direct: Math.max(...rounds.map(({ direct }) => direct)),
    through: Math.max(...rounds.map(({ through }) => through)),
    ratio: median(rounds.map(({ direct, through }) => through / direct)),
    costUs: median(rounds.map(({ costUs }) => costUs)),
    lagMs: Math.max(0, lag.percentile(99) / 1e6 - LOOK_MS),
  }
}

async function load(port: number, path: string, connections: number, seconds: number): Promise<number> {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, `http://127.0.0.1:${port}${path}`]
  const { stdout } = await promisify(execFile)('wrk', args)
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1])
  if (!(rate > 0)) throw new Error(`wrk measured nothing: ${stdout}`)
  return rate
}

const LOOK_MS = 5
