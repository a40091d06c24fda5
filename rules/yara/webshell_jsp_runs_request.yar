rule Webshell_JSP_Runs_Request : webshell {
    meta:
        description = "JSP page that runs what a request brings"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $page = /<%[@!=\s]/
        $run = /Runtime\s*\.\s*getRuntime\s*\(\s*\)\s*\.\s*exec\s*\(/
        $builder = /new\s+ProcessBuilder\s*\(/
        $input = /request\s*\.\s*get(Parameter|Header|InputStream|Reader)\s*\(/
        $define = /defineClass\s*\(/
        $load = "ClassLoader"
    condition:
        filesize < 2MB and $page and $input and (any of ($run, $builder) or all of ($define, $load))
}
