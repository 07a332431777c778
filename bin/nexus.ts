#!/usr/bin/env node
import './floor.ts'

const { main } = await import('./nexus-cli.ts')
await main(process.argv.slice(2))
