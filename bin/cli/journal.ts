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
