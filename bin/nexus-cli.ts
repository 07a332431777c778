import { Command, CommanderError, Option } from 'commander'
import { CATEGORIES, DECISIONS } from '../daemon/contracts/ids.ts'
import { type Cli, type GlobalOptions, openCli } from './cli/cli.ts'
import { CliError, EXIT, exitFor, tell, tellJson } from './cli/exit.ts'

/** The command line of NEXUS. Sets the exit code of the process; see `EXIT` for what each means. */
export async function main(args: readonly string[]): Promise<void> {
  // What stands behind `run` belongs to the daemon, which has options of its own.
  if (args[0] === 'run') return runDaemon(args.slice(1))
  readOnlyTheBeginning()
  if (args.includes('--no-color')) {
    process.env['NO_COLOR'] = '1'
    delete process.env['FORCE_COLOR']
  }
  try {
    await program().parseAsync(args, { from: 'user' })
  } catch (error) {
    process.exitCode = fail(error, args.includes('--json'))
  }
}

type Action = (cli: Cli, args: readonly string[], options: never, globals: GlobalOptions) => Promise<number>

/** All commands. Each loads what it needs only when it is asked for, so that the others start quickly. */
function program(): Command {
  const nexus = new Command('nexus')
    .description('steers a NEXUS daemon')
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true })
    .option('--socket <path>', 'the Unix socket of the daemon (NEXUS_SOCKET; data/run/nexus.sock)')
    .option('--data-dir <dir>', 'the data folder (NEXUS_DATA_DIR; data)')
    .option('--json', 'print JSON')
    .option('--no-color', 'no colour, as NO_COLOR does')
    .option('--timeout <duration>', 'how long to wait for an answer: 30s, 500ms, 2m')
    .addHelpText('after', EXIT_HELP)
  const add = (spec: string, say: string, action: Action): Command => attach(nexus, spec, say, action)

  add('status [module]', 'how the daemon is, or one module', async (cli, [module], options) =>
    (await import('./cli/modules.ts')).status(cli, module, options),
  ).option('-w, --watch', 'show it again whenever it changes')
  add('modules', 'all modules', async (cli, _, options) =>
    (await import('./cli/modules.ts')).modules(cli, options),
  ).option('-w, --watch', 'show them again whenever they change')
  add(
    'reload <module>',
    'load the newest code; the old one serves until the new one holds',
    async (cli, [module = ''], options) => (await import('./cli/modules.ts')).reload(cli, module, options),
  )
    .addOption(new Option('--strategy <strategy>').choices(['graceful', 'rolling', 'canary', 'immediate']))
    .option('--generation <hash>', 'this generation, or its beginning')
    .option('--dry-run', 'only tell what would be done')
  add(
    'rollback <module>',
    'go back to the last good generation, and stay there until the code changes',
    async (cli, [module = ''], options) => (await import('./cli/modules.ts')).rollback(cli, module, options),
  ).option('--generation <hash>', 'to this generation, or its beginning')
  for (const command of ['start', 'stop'] as const) {
    const say = command === 'start' ? 'run a module, from now on' : 'drain and stop a module, from now on'
    add(`${command} <module>`, say, async (cli, [module = '']) =>
      (await import('./cli/modules.ts')).setRunning(cli, command, module),
    )
  }
  withKey(
    add('unlock <module>', 'open a module that an omen locked', async (cli, [module = ''], options) =>
      (await import('./cli/modules.ts')).unlock(cli, module, options),
    ).requiredOption('--reason <text>', 'recorded with it'),
  )
  add('scale <module> <count>', 'run so many instances of a module, from now on', async (cli, args) => {
    const [module = '', count = ''] = args
    return (await import('./cli/modules.ts')).scale(cli, module, count)
  })
  add(
    'configure <module> <key> <value>',
    'change one setting of a module; the value is JSON',
    async (cli, [module = '', key = '', value = '']) =>
      (await import('./cli/modules.ts')).configure(cli, module, key, value),
  )
  add(
    'explain <module-or-mission>',
    'why it is as it is, and what happens next',
    async (cli, [subject = '']) => (await import('./cli/modules.ts')).explain(cli, subject),
  )
  add(
    'call <action> [input]',
    'call <group>/<name>/<action> with JSON or @file',
    async (cli, [action = '', input]) => (await import('./cli/modules.ts')).call(cli, action, input),
  )
  add('logs [module]', 'what a module said lately, or all of them', async (cli, [module], options) =>
    (await import('./cli/logs.ts')).logs(cli, module, options),
  )
    .option('-f, --follow', 'go on with what it says')
    .option('-n, --lines <count>', 'at most so many', '100')
  missionCommands(nexus)
  add('omens', 'failures that repeat, counted', async (cli, _, options) =>
    (await import('./cli/insight.ts')).omens(cli, options),
  )
    .option('--module <module>')
    .addOption(
      new Option('--level <level>', 'at this level').choices(['ignore', 'warn', 'intervene', 'lock']),
    )
    .option('--kind <kind>')
  add('predictions', 'what is likely to go wrong, and how earlier statements held', async (cli) =>
    (await import('./cli/insight.ts')).predictions(cli),
  )
  add('runes', 'plans learned from successes', async (cli) => (await import('./cli/insight.ts')).runes(cli))
  add('metrics [module]', 'Prometheus text', async (cli, [module]) =>
    (await import('./cli/modules.ts')).metrics(cli, module),
  )
  maintenanceCommands(nexus)
  recordCommands(nexus)
  add('check', 'run a mission and read back what it left (the runtime check)', async (cli) =>
    (await import('./cli/check.ts')).check(cli),
  )
  add(
    'config',
    'the settings of a daemon started here, and where each came from',
    async (cli, _, options: { config?: string }, globals) =>
      (await import('./cli/config.ts')).config(cli, {
        ...options,
        ...(globals.dataDir && { dataDirFlag: globals.dataDir }),
      }),
  ).option('--config <file>', 'instead of nexus.yaml')
  add('doctor', 'what is wrong with this machine, and the fix', async (cli, _, options) =>
    (await import('./cli/doctor.ts')).doctor(cli, options),
  ).option('--config <file>', 'instead of nexus.yaml')
  add('run', 'run the daemon here, in the foreground; takes the options of nexusd', () => {
    throw new CliError(
      'usage',
      'the options of the daemon stand behind run',
      'as in `nexus run --data-dir data`',
    )
  })
  add('version', 'the version of this program', async (cli) =>
    (await import('./cli/version.ts')).version(cli),
  )
  return nexus
}

function missionCommands(nexus: Command): void {
  const missions = nexus.command('missions').description('governed work: create, decide, follow')
  const add = (spec: string, say: string, action: Action): Command => attach(missions, spec, say, action)
  const load = () => import('./cli/missions.ts')

  add('list', 'newest first', async (cli, _, options) => (await load()).list(cli, options))
    .option('--status <status>')
    .addOption(new Option('--category <category>').choices(CATEGORIES))
    .addOption(new Option('--decision <decision>').choices(DECISIONS))
    .option('--module <module>', 'whose plan uses it')
    .option('--limit <count>')
    .option('--after <mission>', 'the page behind this mission')
    .option('-w, --watch', 'show them again whenever they change')
  add('show <mission>', 'one mission with steps, score and evidence', async (cli, [id = '']) =>
    (await load()).show(cli, id),
  )
  add('create [goal]', 'have a mission judged; a SAFE one runs at once', async (cli, [goal], options) =>
    (await load()).create(cli, goal, options),
  )
    .addOption(new Option('--category <category>').choices(CATEGORIES))
    .option('--batch <file>', 'many at once: a body of create as JSON on each line, instead of all else')
    .option('--input <json>', 'JSON or @file')
    .option('--max-time <seconds>', 'of execution')
    .option('--max-steps <count>')
    .option('--plan <json>', 'steps as JSON or @file, instead of what a module plans')
    .option('--priority <0..9>')
    .option('--not-before <time>', 'RFC 3339')
    .option('--expected-value <number>')
    .option('--max-attempts <count>')
    .option('--idempotency-key <key>', 'asked again with the same key, it is the same mission')
    .option('--wait', 'follow it to its end and exit with its outcome')
  withKey(
    add(
      'run <mission>',
      'run it, approving it where it waits, and exit with its outcome',
      async (cli, [id = ''], options) => (await load()).run(cli, id, options),
    )
      .option('--wait', 'also when it takes longer than the daemon waits')
      .option('--override', 'execute a FAILING one once; needs --reason')
      .option('--reason <text>')
      .addOption(
        new Option('--resume <how>', 'what to do with the step whose outcome is unknown').choices([
          'retry',
          'skip',
        ]),
      ),
  )
  withKey(
    add(
      'retry <mission>',
      'order a failed or expired one once more, judged afresh',
      async (cli, [id = ''], options) => (await load()).retry(cli, id, options),
    ).option('--wait', 'follow the new one to its end and exit with its outcome'),
  )
  for (const decision of ['approve', 'reject', 'cancel'] as const) {
    const command = add(`${decision} <mission>`, DECIDE[decision], async (cli, [id = ''], options) =>
      (await load()).decide(cli, decision, id, options),
    ).option('--reason <text>', 'recorded with the decision')
    if (decision === 'approve') {
      command.option('--digest <digest>', 'only what `show` showed: refused when it has changed since')
    }
    withKey(command)
  }
  add('watch <mission>', 'follow it to its end and exit with its outcome', async (cli, [id = '']) =>
    (await load()).watchMission(cli, id),
  )
}

function maintenanceCommands(nexus: Command): void {
  const maintenance = nexus
    .command('maintenance')
    .description("upkeep of the daemon's own records, as missions")
  const add = (spec: string, say: string, action: Action): Command => attach(maintenance, spec, say, action)
  const load = () => import('./cli/maintenance.ts')

  add('list', 'what is scheduled, and how it ended last', async (cli) => (await load()).list(cli))
  withKey(
    add(
      'run <task>',
      'compact, verify, snapshot, prune or rotate: once, now',
      async (cli, [task = ''], options) => (await load()).run(cli, task, options),
    ).option('--no-wait', 'do not wait for its end'),
  )
  withKey(
    add('schedule <task>', 'again and again, or once later', async (cli, [task = ''], options) =>
      (await load()).schedule(cli, task, options),
    )
      .option('--cron <fields>', 'minute, hour, day of month, month, day of week: "30 2 * * *"')
      .option('--timezone <name>', "as in Europe/Berlin; the daemon's own unless said")
      .option('--at <time>', 'once, at this time (RFC 3339)')
      .addOption(new Option('--missed <how>', 'what to do about missed runs').choices(['skip', 'once'])),
  )
  withKey(
    add('remove <id>', 'take a schedule away', async (cli, [id = '']) => (await load()).remove(cli, id)),
  )
}

function recordCommands(nexus: Command): void {
  const load = () => import('./cli/journal.ts')
  const key = nexus.command('key').description('the operator key')
  attach(key, 'show', 'print it, from the data folder', async (cli) =>
    (await import('./cli/key.ts')).showKey(cli),
  )
  const audit = nexus.command('audit').description('the hash-chained record of everything that happened')
  attach(audit, 'verify', 'check every record, with or without a daemon', async (cli) =>
    (await load()).verify(cli),
  )
  attach(audit, 'tail', 'the newest records', async (cli, _, options) => (await load()).tail(cli, options))
    .option('-f, --follow', 'go on with those that come')
    .option('-n, --lines <count>', 'so many', '20')
  const journal = nexus.command('journal').description('the files of the record')
  attach(journal, 'verify', 'the same as audit verify', async (cli) => (await load()).verify(cli))
  attach(journal, 'rebuild', 'derive all other records from it again, with no daemon running', async (cli) =>
    (await load()).rebuild(cli),
  )
  attach(journal, 'repair', 'say what a repair of damage would cost', async (cli, _, options) =>
    (await load()).repair(cli, options),
  ).option('--accept-loss', 'do it')
}

const DECIDE = {
  approve: 'let a BORDERLINE mission run',
  reject: 'refuse a BORDERLINE mission',
  cancel: 'stop a mission, whether it waits or runs',
} as const

const EXIT_HELP = `
Exit codes: 0 ok · 1 failed, or the answer is no · 2 usage · 3 daemon not running · 4 no such module or mission ·
5 denied, or approval needed · 6 conflict or locked · 124 timeout · 130 interrupted`

function withKey(command: Command): Command {
  return command
    .option('--key-file <file>', 'with the operator key (NEXUS_OPERATOR_KEY_FILE; the data folder)')
    .option('--key-stdin', 'read the operator key from standard input')
}

/** Adds a command whose action gets what it works with, its arguments and its options, and answers the exit code. */
function attach(parent: Command, spec: string, say: string, action: Action): Command {
  return parent
    .command(spec)
    .description(say)
    .action(async (...given: unknown[]) => {
      const command = given.at(-1) as Command
      const globals: GlobalOptions = command.optsWithGlobals()
      const cli = openCli(globals)
      const attention = untilInterrupted(cli)
      try {
        process.exitCode = await action(cli, command.args, command.opts() as never, globals)
      } catch (error) {
        // What breaks while it is being undone is no news.
        process.exitCode = attention.interrupted() ? EXIT.interrupted : fail(error, cli.json)
      } finally {
        await cli.stops.stop()
        attention.release()
      }
    })
}

/** Ctrl-C undoes what the command began and ends with 130; a second one does not wait. */
function untilInterrupted(cli: Cli): { interrupted(): boolean; release(): void } {
  let interrupted = false
  const end = (): never => process.exit(EXIT.interrupted)
  const leave = (): void => {
    if (interrupted) end()
    interrupted = true
    cli.stops.stop().then(end, end)
  }
  process.on('SIGINT', leave)
  process.on('SIGTERM', leave)
  // The clock's timers let a process end, and a command that waits for one has not ended.
  const { port1 } = new MessageChannel()
  port1.ref()
  const release = (): void => {
    port1.close()
    process.off('SIGINT', leave)
    process.off('SIGTERM', leave)
  }
  return { interrupted: () => interrupted, release }
}

/** Tells what went wrong and returns its exit code. Help and version are no failures. */
function fail(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
  if (json) process.stderr.write(`${JSON.stringify(tellJson(error))}\n`)
  else process.stderr.write(`${tell(error)}\n`)
  return exitFor(error)
}

/** Who reads only the first lines (`nexus logs | head`) has read enough; that is no error. */
function readOnlyTheBeginning(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok)
    throw error
  })
}

async function runDaemon(args: readonly string[]): Promise<void> {
  const { refuseDebugger } = await import('../daemon/signals.ts')
  refuseDebugger()
  const daemon = await import('../daemon/main.ts')
  process.exitCode = await daemon.main(args)
}
