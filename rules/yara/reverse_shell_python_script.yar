rule Reverse_Shell_Python_Script : reverse_shell {
    meta:
        description = "Python script that ties a shell to a socket"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1059/006/"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $socket = /socket\.socket\s*\(|from\s+socket\s+import/
        $connect = /\.connect\s*\(\s*\(/
        $dup = /os\.dup2\s*\(\s*\w{1,20}\.fileno\s*\(\s*\)\s*,\s*[012]\s*\)/
        $shell = /(pty\.spawn|subprocess\.(call|Popen|run)|os\.system|os\.exec\w{1,3})\s*\(\s*\[?\s*["'](\/\w{1,20}){0,4}\/?(ba|da|z|k)?sh\b/
    condition:
        filesize < 1MB and all of them
}
