import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cli } from './cli.ts'
import { CliError, EXIT } from './exit.ts'

/** `nexus key show`: reads the file itself; no daemon hands out its key. */
export async function showKey(cli: Cli): Promise<number> {
  const file = keyFileOf(cli.dataDir)
  const key = readKey(file)
  if (!process.stdout.isTTY)
    cli.note('nexus: the operator key goes to something that is no terminal; keep it out of logs')
  if (cli.json) cli.printJson({ operator_key: key, file })
  else cli.print(`${key}\n`)
  return EXIT.ok
}

/**
 * The operator key that the caller named: a file, standard input, the environment. Never an argument, which every
 * process on the machine can read.
 */
export function namedKey(cli: Cli, environment: NodeJS.ProcessEnv = process.env): string | undefined {
  if (cli.keyStdin) return readKey(0)
  const file = cli.keyFile || environment['NEXUS_OPERATOR_KEY_FILE']
  return file ? readKey(file) : undefined
}

/** The named key, or the one in the data folder, which only its own account can read. */
export function operatorKey(cli: Cli): string {
  const named = namedKey(cli)
  if (named !== undefined) return named
  try {
    return readKey(keyFileOf(cli.dataDir))
  } catch (cause) {
    const remedy =
      'name its file with --key-file or NEXUS_OPERATOR_KEY_FILE, or give it on standard input with --key-stdin'
    throw new CliError('denied', 'this needs the operator key', remedy, { cause })
  }
}

function keyFileOf(dataDir: string): string {
  return join(dataDir, 'operator_pin.txt')
}

function readKey(file: string | 0): string {
  const where = file === 0 ? 'standard input' : file
  let key: string
  try {
    key = readFileSync(file, 'utf8').trim()
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    if (code === 'EACCES' || code === 'EPERM') {
      throw new CliError(
        'denied',
        `${where} may not be read by this account`,
        'use the account that runs the daemon',
        { cause },
      )
    }
    const remedy = 'the daemon makes its key at its first start; name its folder with --data-dir'
    throw new CliError('failed', `no operator key can be read from ${where} (${code})`, remedy, { cause })
  }
  if (key === '' || /\s/.test(key)) throw new CliError('usage', `${where} does not hold one key`)
  return key
}
