import { resolve } from 'node:path'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { parseInteger } from './arguments.ts'
import type { Cli } from './cli.ts'
import { follow } from './events.ts'
import { CliError, EXIT } from './exit.ts'
import { clean, fields, tone } from './text.ts'

/** `nexus audit verify`: reads every record of the data folder, with or without a daemon. Exit 1 on damage. */
export async function verify(cli: Cli): Promise<number> {
  const [{ verifyJournal }, { nodeDisk }] = await Promise.all([
    import('../../daemon/storage/verify.ts'),
    import('../../daemon/storage/node-disk.ts'),
  ])
  const dataDir = resolve(cli.dataDir)
  const report = await verifyJournal(nodeDisk, dataDir)
  if (report.segments === 0) {
    throw new CliError('failed', `there is no journal in ${dataDir}`, 'name the data folder with --data-dir')
  }
  const { ok, records, segments, first, last, lastH, damage, tailOpen } = report
  if (cli.json) {
    cli.printJson({
      ok,
      records,
      segments,
      first,
      last,
      last_h: lastH,
      ...(damage && {
        damage: { code: damage.code, message: damage.message, ...damage.facts, remedy: damage.remedy },
      }),
      ...(tailOpen && { tail_open: tailOpen }),
    })
    return ok ? EXIT.ok : EXIT.failed
  }
  cli.print(
    fields([
      ['journal', ok ? 'the chain holds' : 'DAMAGED'],
      ['records', `${records} (sequence numbers ${first} to ${last})`],
      ['files', String(segments)],
      ['last hash', lastH],
      [
        'open tail',
        tailOpen && `${tailOpen.bytes} bytes from byte ${tailOpen.offset}: being written, or torn`,
      ],
      ['damage', damage?.message],
      ['remedy', damage?.remedy],
    ]),
  )
  return ok ? EXIT.ok : EXIT.failed
}

/** `nexus journal rebuild`: derives again what can be derived from the journal. No daemon may run on the folder. */
export async function rebuild(cli: Cli): Promise<number> {
  const [{ rebuild: derive }, { loadSettings }] = await Promise.all([
    import('../../daemon/rebuild.ts'),
    import('../../daemon/config-load.ts'),
  ])
  const flags = { data_dir: resolve(cli.dataDir) }
  const { settings } = await loadSettings({ env: process.env, flags, cwd: process.cwd() })
  const found = await derive(settings, process.env)
  if (cli.json) cli.printJson(found)
  else {
    const { seq, from_seq, missions, lost, digest, same } = found
    cli.print(
      fields([
        ['read', `the records ${from_seq} to ${seq}`],
        ['missions', `${missions} at rest${lost > 0 ? `, ${lost} of them LOST` : ''}`],
        ['digest', digest],
        ['before', same ? 'the files told the same' : 'the files told something else'],
      ]),
    )
  }
  return found.lost === 0 ? EXIT.ok : EXIT.failed
}

/** `nexus journal repair [--accept-loss]`: says what a repair would cost, and does it only when that is accepted. */
export async function repair(cli: Cli, options: { acceptLoss?: boolean }): Promise<number> {
  const [{ planRepair, repairJournal }, { nodeDisk }, { holdFolder }, { systemClock }, { loadSettings }] =
    await Promise.all([
      import('../../daemon/storage/repair.ts'),
      import('../../daemon/storage/node-disk.ts'),
      import('../../daemon/storage/lock.ts'),
      import('../../daemon/kit/clock.ts'),
      import('../../daemon/config-load.ts'),
    ])
  const dataDir = resolve(cli.dataDir)
  const flags = { data_dir: dataDir }
  const { settings } = await loadSettings({ env: process.env, flags, cwd: process.cwd() })
  const lock = holdFolder(dataDir)
  try {
    const segmentBytes = settings.journal.segment_mb * 1_048_576
    const isDone = options.acceptLoss === true
    const plan = isDone
      ? await repairJournal(nodeDisk, systemClock, dataDir, segmentBytes)
      : await planRepair(nodeDisk, dataDir)
    if (plan === undefined) {
      if (cli.json) cli.printJson({ damaged: false })
      else cli.print('the chain holds: there is nothing to repair\n')
      return EXIT.ok
    }
    const { damage, how, lost, known, files } = plan
    if (cli.json)
      cli.printJson({ damaged: true, repaired: isDone, how, because: damage.message, lost, known, files })
    else {
      cli.print(
        fields([
          ['damage', damage.message],
          [
            'lost',
            `the records ${lost.from_seq} to ${lost.to_seq} (${lost.bytes} bytes, kept in quarantine/)`,
          ],
          ['state', HOW[how](known)],
          ['files', files.join(', ')],
          ['journal', isDone ? 'repaired; its next record tells of it' : 'untouched'],
          ['to do it', isDone ? undefined : 'nexus journal repair --accept-loss'],
        ]),
      )
    }
    return isDone ? EXIT.ok : EXIT.failed
  } finally {
    lock.release()
  }
}

const HOW = {
  cut: (known: number) => `goes back to record ${known}: what came later did not happen`,
  begin: () => 'stays as it is, from a snapshot; only the records themselves can no longer be shown',
  snapshot: (known: number) =>
    `goes back to record ${known}, from a snapshot; what came later did not happen, and no record before it can be shown any more`,
} as const

/** `nexus audit tail [-n 20] [-f]`: the newest facts, and with `-f` those that come. */
export async function tail(cli: Cli, options: { lines: string; follow?: boolean }): Promise<number> {
  const wanted = parseInteger(options.lines, '--lines', 1, 1_000)
  const { head } = await cli.get<{ head: number }>('/v1/audit?limit=1')
  const after = Math.max(0, head - wanted)
  const { facts } = await cli.get<{ facts: Fact[] }>(`/v1/audit?after=${after}&limit=${wanted}`)
  const print = (fact: Fact): void =>
    cli.print(cli.json ? `${JSON.stringify(fact)}\n` : `${factLine(fact)}\n`)
  facts.forEach(print)
  if (!options.follow) return EXIT.ok
  await follow(cli, { after: facts.at(-1)?.seq ?? head, onFact: print, signal: new AbortController().signal })
  return EXIT.ok
}

function factLine({ seq, ts, type, mid, actor, d }: Fact): string {
  const about = [mid, d['module_id'], d['command']].filter((value) => typeof value === 'string').join(' ')
  return `${seq}  ${ts}  ${tone('head', type)}  ${clean(`${actor.kind}:${actor.name}  ${about}`)}`.trimEnd()
}
