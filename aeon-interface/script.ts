/** One of the programs of this folder that print one answer and end. */
export interface Script {
  /** Behind its name. */
  readonly usage: string
  /** Undefined when the arguments are not understood. */
  run(args: readonly string[]): Promise<Printed> | undefined
}

export interface Printed {
  readonly exit: 0 | 1
  readonly text: string
  /** Standard output unless it says otherwise. */
  readonly to?: 'stderr'
}

/** Runs a script on the arguments of this process and sets the exit code: its own, or 2 for usage. */
export async function runScript(name: string, script: Script): Promise<void> {
  if (process.getBuiltinModule === undefined) {
    console.error(`${name} needs Node ^22.22.0 || >=24, this is ${process.version}`)
    process.exitCode = 2
    return
  }
  const args = process.argv.slice(2)
  const at = args.indexOf('--socket')
  const [, socketPath] = at === -1 ? [] : args.splice(at, 2)
  const running = at !== -1 && !socketPath ? undefined : start(script, args, socketPath)
  const printed = running && (await running)
  process.exitCode = printed?.exit ?? 2
  const stream = printed === undefined || printed.to === 'stderr' ? process.stderr : process.stdout
  // Who reads only the first lines has read enough.
  stream.on('error', () => {})
  stream.write(printed === undefined ? `usage: ${name} ${script.usage} [--socket <path>]\n` : printed.text)
}

/** As every answer is printed. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

function start(script: Script, args: string[], socketPath: string | undefined): Promise<Printed> | undefined {
  if (socketPath) process.env['NEXUS_SOCKET'] = socketPath
  return script.run(args)
}
