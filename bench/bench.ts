import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { installPeers } from './peers.ts'
import { supervision } from './supervision/supervision.ts'

const USAGE = `usage: npm run bench -- supervision [options]

  --install          install PM2 and Watt into the folder of the peers first (supervisord: apt)
  --peers DIR        that folder, outside the project (${join(tmpdir(), 'nexus-bench-peers')})
  --only NAME        nexus, pm2, supervisord or watt; repeatable
  --rows ROW         fleet, crash, reloads, broken, hang; actions, bare, shared, probes, endurance; repeatable
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
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
})

if (positionals.join(' ') === 'supervision') {
  const peersDir = resolve(values.peers)
  if (values.install) installPeers(peersDir)
  const { only, rows, quick } = values
  const say = (line: string): void => void process.stderr.write(`${line}\n`)
  const figures = await supervision({ peersDir, only, rows, quick, say })
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`)
} else {
  process.stderr.write(USAGE)
  process.exitCode = 2
}
