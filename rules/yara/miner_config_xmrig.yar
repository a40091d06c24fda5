rule Miner_Config_XMRig : miner {
    meta:
        description = "Configuration of a cryptocurrency miner"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1496/001/"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $pools = "\"pools\"" ascii
        $donate = "\"donate-level\"" ascii
        $wallet = /"user"\s*:\s*"(4|8)[0-9A-Za-z]{90,110}/
        $url = /"url"\s*:\s*"(stratum\+(tcp|ssl):\/\/)?[\w.-]{3,100}:[0-9]{2,5}"/
        $algo = /"(algo|coin)"\s*:\s*"?(rx\/|cn\/|randomx|monero|argon2)/
    condition:
        filesize < 256KB and $pools and $url and ($donate or $wallet or $algo)
}
