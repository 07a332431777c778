import { VERSION } from '../../daemon/product.ts'
import type { Cli } from './cli.ts'
import { EXIT } from './exit.ts'

/** `nexus version`: of this program, and of the Node it runs on. */
export async function version(cli: Cli): Promise<number> {
  if (cli.json) cli.printJson({ version: VERSION, node: process.version })
  else cli.print(`nexus ${VERSION} (node ${process.version})\n`)
  return EXIT.ok
}
