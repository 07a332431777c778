import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { missions } from './missions/missions.ts'
import { installPeers, QUEUES, SUPERVISORS } from './peers.ts'
import { ports } from './ports/ports.ts'
import { supervision } from './supervision/supervision.ts'

const USAGE = `usage: npm run bench -- supervision | missions | ports [options]

supervision: NEXUS beside PM2, supervisord and Watt
  --install          install PM2 and Watt into the folder of the peers first (supervisord: apt)
  --peers DIR        that folder, outside the project (${join(tmpdir(), 'nexus-bench-peers')})
  --only NAME        nexus, pm2, supervisord or watt; repeatable
  --rows ROW         fleet, crash, reloads, broken, hang; 'action crash', actions, bare, shared, probes, endurance; repeatable
missions: the durable queue beside BullMQ, pg-boss, graphile-worker and what the disk allows
  --install          install these three into the folder of the peers first (apt: redis-server, postgresql)
  --peers DIR        that folder
  --only NAME        nexus, bullmq, pg-boss or graphile-worker; repeatable
  --rows ROW         throughput, batch, engine, alone, history; repeatable
  --sizes LIST       how many missions of history, 0 first (0,100000,1000000: some 8 GB for a while)
  --data-root DIR    where the data folders stand, on the disk to be measured (${tmpdir()})
ports: requests through a port of the daemon beside the same server reached directly

  --quick            shows that the bench works, not what the figures are
  --json FILE        write the figures there, too
`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    install: { type: 'boolean', default: false },
    peers: { type: 'string', default: join(tmpdir(), 'nexus-bench-peers') },
    only: { type: 'string', multiple: true, default: [] },
    rows: { type: 'string', multiple: true, default: [] },
    sizes: { type: 'string' },
    'data-root': { type: 'string', default: tmpdir() },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
})

const say = (line: string): void => void process.stderr.write(`${line}\n`)
const suites: Readonly<Record<string, () => Promise<unknown>>> = {
  supervision: () => {
    const peersDir = resolve(values.peers)
    if (values.install) installPeers(peersDir, SUPERVISORS)
    const { only, rows, quick } = values
    return supervision({ peersDir, only, rows, quick, say })
  },
  missions: () => {
    const peersDir = resolve(values.peers)
    if (values.install) installPeers(peersDir, QUEUES)
    const { only, rows, quick } = values
    const sizes = (values.sizes ?? (quick ? '0,1000,5000' : '0,100000,1000000')).split(',').map(Number)
    return missions({ peersDir, only, rows, quick, sizes, root: resolve(values['data-root']), say })
  },
  ports: () => ports(values.quick),
}
const [suite = ''] = positionals
const run = Object.hasOwn(suites, suite) && positionals.length === 1 ? suites[suite] : undefined
if (run === undefined) {
  process.stderr.write(USAGE)
  process.exitCode = 2
} else {
  const figures = await run()
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`)
}
